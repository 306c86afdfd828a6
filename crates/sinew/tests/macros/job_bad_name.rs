use sinew::job::Job;

#[derive(Job)]
#[job(name = "send mail")]
struct Send;

fn main() {}
