"""The paper's theory as functions: when queues stay bounded, what a network carries, how long."""
