use tower_dcr::event::Event;

fn main() {
    let _ = tower_dcr::mcp().with_sink(|event: Event| println!("{event:?}"));
}
