use sinew::{Cache, cached};

struct Names {
    cache: Cache<u64, String>,
    greeting: String,
}

impl Names {
    #[cached(cache = self.cache, key = id)]
    async fn name(&self, id: u64) -> std::io::Result<String> {
        Ok(format!("{} {id}", self.greeting))
    }
}

fn main() {}
