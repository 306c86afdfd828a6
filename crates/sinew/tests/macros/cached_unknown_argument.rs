use sinew::{Cache, cached};

#[cached(cache = names, key = id, ttl = 60)]
async fn name(names: &Cache<u64, String>, id: u64) -> std::io::Result<String> {
    Ok(id.to_string())
}

fn main() {}
