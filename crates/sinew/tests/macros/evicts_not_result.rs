use sinew::{Cache, evicts};

#[evicts(cache = names, key = id)]
async fn forget(names: &Cache<u64, String>, id: u64) -> bool {
    id > 0
}

fn main() {}
