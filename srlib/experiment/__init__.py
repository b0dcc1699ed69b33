"""What a notebook works with: its arms, its checks before anything runs, its folder."""
