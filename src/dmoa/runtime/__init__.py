"""The body: an agent on a real clock, with ports for the network and the model."""
