use sinew::{Cache, cached};

struct Db;

#[cached(cache = names, key = id)]
async fn name(names: &Cache<u64, String>, db: &Db, id: u64) -> std::io::Result<String> {
    let _ = db;
    Ok(id.to_string())
}

fn main() {}
