use sinew::locked;

#[locked(locks = locks, name = "job")]
async fn job(locks: String) -> sinew::Result<()> {
    Ok(())
}

fn main() {}
