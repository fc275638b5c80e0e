"""The guest agent, qemu-guest-agent."""
