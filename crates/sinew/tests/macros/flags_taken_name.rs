sinew::flags! {
    struct Features {
        new: bool = false,
    }
}

fn main() {}
