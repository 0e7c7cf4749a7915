"""The leaderboard turns records into tables, comparisons and pages. It knows files only, never torch."""
