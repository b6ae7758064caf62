//! The simulation: the whole runner on paused time, with faults and crashes, by a seed.
