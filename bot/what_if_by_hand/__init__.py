"""What `/m365-whatif` asks and answers: what would happen at a sign-in, by the policies as they are now."""
