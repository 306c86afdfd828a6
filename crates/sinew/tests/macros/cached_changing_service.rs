use sinew::{Cache, cached};

struct Names {
    cache: Cache<u64, String>,
    reads: u64,
}

impl Names {
    #[cached(cache = self.cache, key = id)]
    async fn name(&mut self, id: u64) -> std::io::Result<String> {
        self.reads += 1;
        Ok(id.to_string())
    }
}

fn main() {}
