use tower_dcr::audit::Event;

fn main() {
    let _ = tower_dcr::mcp().with_sink(|event: Event| println!("{event:?}"));
}
