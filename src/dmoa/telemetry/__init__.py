"""What those hear of a node who run many: metrics, traces and logs, never what was asked."""
