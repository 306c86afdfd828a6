use sinew::{Locks, locked};

#[locked(locks = locks, name = "job", ttl = "36h")]
async fn job(locks: &Locks) -> sinew::Result<()> {
    let _ = locks;
    Ok(())
}

fn main() {}
