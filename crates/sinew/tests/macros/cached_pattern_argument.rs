use sinew::{Cache, cached};

#[cached(cache = names, key = id)]
async fn name(names: &Cache<u64, String>, (id, _): (u64, u64)) -> std::io::Result<String> {
    Ok(id.to_string())
}

fn main() {}
