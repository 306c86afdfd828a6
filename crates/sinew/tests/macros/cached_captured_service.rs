use sinew::{Cache, cached};

#[derive(Clone)]
struct Names {
    cache: Cache<u64, String>,
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("names")
    }
}

impl Names {
    #[cached(cache = self.cache, key = id)]
    async fn name(&self, id: u64) -> std::io::Result<String> {
        Ok(format!("{self} {id}"))
    }
}

fn main() {}
