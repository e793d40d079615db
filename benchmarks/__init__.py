"""What Trackline is measured against, and the measuring."""
