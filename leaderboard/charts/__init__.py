"""Charts for papers, drawn by matplotlib from the numbers of the leaderboard: one file a chart, all in one style."""
