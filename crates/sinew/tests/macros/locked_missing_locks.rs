use sinew::locked;

#[locked(name = "job")]
async fn job(month: u32) -> sinew::Result<u32> {
    Ok(month)
}

fn main() {}
