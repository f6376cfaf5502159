"""The mind: the whole protocol as a pure state machine, without clock, dice or IO."""
