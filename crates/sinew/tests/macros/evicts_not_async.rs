use sinew::{Cache, evicts};

#[evicts(cache = names, key = id)]
fn forget(names: &Cache<u64, String>, id: u64) -> std::io::Result<()> {
    Ok(())
}

fn main() {}
