use sinew::cached;

#[cached(key = id)]
async fn name(id: u64) -> std::io::Result<String> {
    Ok(id.to_string())
}

fn main() {}
