use sinew::job::Job;

#[derive(Job)]
#[job(name = "send", retries = 3)]
struct Send;

fn main() {}
