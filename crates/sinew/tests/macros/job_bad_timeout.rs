use sinew::job::Job;

#[derive(Job)]
#[job(name = "send", timeout = "31d")]
struct Send;

fn main() {}
