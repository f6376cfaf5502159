"""Virtual time: many agents dreamt on one clock."""
