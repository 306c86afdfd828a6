use sinew::{Cache, cached};

#[cached(cache = ages, key = id)]
async fn name(ages: &Cache<u64, u8>, id: u64) -> std::io::Result<String> {
    Ok(id.to_string())
}

fn main() {}
