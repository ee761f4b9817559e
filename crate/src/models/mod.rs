//! Published methods. A model never draws.
