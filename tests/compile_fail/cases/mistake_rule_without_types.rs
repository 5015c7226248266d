fn main() {
    let _ = tower_dcr::mcp().add_rule(|draft| {
        draft.strip("contacts");
        Ok(())
    });
}
