//! What a capability needs from a store.

/// The trait `Backend` of these steps. `Store`, which stands where this is called, takes each on the store that it is.
macro_rules! backend {
    ($($(#[$doc:meta])* async fn $step:ident(&self $(, $name:ident: $of:ty)*) -> $reply:ty;)*) => {
        /// A store, as this capability sees it.
        pub(super) trait Backend: Send + Sync {
            $($(#[$doc])* fn $step(&self $(, $name: $of)*) -> impl Future<Output = $reply> + Send;)*
        }

        impl Backend for Store {
            $(async fn $step(&self $(, $name: $of)*) -> $reply {
                match self {
                    Self::Memory(backend) => backend.$step($($name),*).await,
                    #[cfg(feature = "redis")]
                    Self::Redis(backend) => backend.$step($($name),*).await,
                }
            })*
        }
    };
}

pub(crate) use backend;
