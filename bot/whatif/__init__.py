"""What if: which Conditional Access policies would apply to a sign-in, why, and what they would ask for.

Pure: `policies` and `locations` read what Graph returns, `signins` says who signs in to what and from where,
`evaluation` judges by the conditions that `sets` compiles, `controls` tells who could meet what is asked for, `words`
says it all in English, `offline` judges files.
"""
