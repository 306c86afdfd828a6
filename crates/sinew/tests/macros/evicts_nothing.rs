use sinew::{Cache, evicts};

#[evicts(cache = names)]
async fn forget(names: &Cache<u64, String>) -> std::io::Result<()> {
    Ok(())
}

fn main() {}
