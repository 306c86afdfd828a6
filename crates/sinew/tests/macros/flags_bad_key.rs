sinew::flags! {
    struct Features {
        #[key("new:ui")]
        new_ui: bool = false,
    }
}

fn main() {}
