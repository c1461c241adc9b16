"""What `perago.testing` is made of: the embedded services, their faults, workers on them."""
