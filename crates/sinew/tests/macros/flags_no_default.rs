sinew::flags! {
    struct Features {
        new_ui: bool,
    }
}

fn main() {}
