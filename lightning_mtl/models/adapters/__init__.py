"""Networks that adapt a frozen encoder with few parameters."""
