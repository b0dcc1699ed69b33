"""What a completion is: right or wrong, refused or not; by rules, and by judges."""
