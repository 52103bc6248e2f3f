"""What a service says about itself: metrics and logs."""
