"""What happens when something breaks: crashes, lost answers, lagging replicas, a silent Slack."""
