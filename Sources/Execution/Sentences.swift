import Targets

/// Runs what throws nothing but sentences, or could throw more: what comes out is a `SluiceError`.
func asSentence<T>(_ body: () throws -> T) throws(SluiceError) -> T {
  do {
    return try body()
  } catch let error as SluiceError {
    throw error
  } catch {
    throw SluiceError(.internal, "An unforeseen failure: \(error).")
  }
}

/// As ``asSentence(_:)-(()->T)`` for what waits.
func asSentence<T>(_ body: () async throws -> T) async throws(SluiceError) -> T {
  do {
    return try await body()
  } catch let error as SluiceError {
    throw error
  } catch {
    throw SluiceError(.internal, "An unforeseen failure: \(error).")
  }
}
