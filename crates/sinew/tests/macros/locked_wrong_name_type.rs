use sinew::{Locks, locked};

#[locked(locks = locks, name = month)]
async fn job(locks: &Locks, month: u32) -> sinew::Result<()> {
    Ok(())
}

fn main() {}
