//! The constants by which shaders read weights of a layout.

use super::device::DeviceLayout;

/// The constants by which a shader that knows nibbles reads weights of the layout.
pub(super) fn constants(layout: DeviceLayout) -> Vec<(&'static str, String)> {
    let mut constants = vec![("NIBBLES", layout.nibbles.to_string())];
    constants.extend(of_layout(layout));
    constants
}

/// The constants that all shaders have.
pub(super) fn of_layout(layout: DeviceLayout) -> Vec<(&'static str, String)> {
    let mut constants = vec![
        ("ZERO", format!("{}.0", layout.zero)),
        ("OFFSETS", layout.offsets.to_string()),
        ("GROUP4", format!("{}u", layout.group / 4)),
        ("EXPONENT", format!("{}u", layout.exponent)),
        ("HALVES", layout.halves.to_string()),
    ];
    constants.extend(table(layout));
    constants
}

/// The constants of a table of 16 numbers; without one, a shader's own are not read.
fn table(layout: DeviceLayout) -> Vec<(&'static str, String)> {
    let table = layout.table.map(|table| {
        let values = table.values().map(|value| format!("{value:?}")).join(", ");
        ("TABLE", format!("array<f32, 16>({values})"))
    });
    let tabled = ("TABLED", table.is_some().to_string());
    [tabled].into_iter().chain(table).collect()
}
