"""What people type: each command wires rooms together and draws what they say."""
