sinew::flags! {
    struct Features {
        new_ui: bool = "off",
    }
}

fn main() {}
