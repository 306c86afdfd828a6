use sinew::cached;

#[cached(cache = names, key = id)]
async fn name(names: String, id: u64) -> std::io::Result<String> {
    Ok(id.to_string())
}

fn main() {}
