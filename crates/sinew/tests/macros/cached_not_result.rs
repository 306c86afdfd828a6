use sinew::{Cache, cached};

#[cached(cache = names, key = id)]
async fn name(names: &Cache<u64, String>, id: u64) -> Option<String> {
    Some(id.to_string())
}

fn main() {}
