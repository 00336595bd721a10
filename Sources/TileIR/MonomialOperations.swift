import Recurrences

/// `target[i] = the Monomials of source[i]`, row by row: rows of features become rows of keys.
public struct MonomialRows: Hashable, Codable, Sendable {
  public var target: TileView
  public var source: TileView

  public init(_ target: TileView, of source: TileView) {
    self.target = target
    self.source = source
  }
}

/// `target[i] =` the adjoint of the features `source[i]`, from the adjoint of their monomials.
public struct MonomialAdjoint: Hashable, Codable, Sendable {
  public var target: TileView
  /// The adjoint of the monomials.
  public var given: TileView
  public var source: TileView

  public init(_ target: TileView, given: TileView, at source: TileView) {
    self.target = target
    self.given = given
    self.source = source
  }
}

extension Worker {
  mutating func execute(_ rows: MonomialRows) {
    for row in 0..<rows.target.rows {
      set(rows.target, row, Monomials.apply(get(rows.source, row)))
    }
  }

  mutating func execute(_ adjoint: MonomialAdjoint) {
    for row in 0..<adjoint.target.rows {
      set(
        adjoint.target, row,
        Monomials.adjoint(get(adjoint.given, row), at: get(adjoint.source, row)))
    }
  }

  private func get(_ view: TileView, _ row: Int) -> [Double] {
    let window = window(view)
    return (0..<view.columns).map { get(window, row, $0) }
  }

  private mutating func set(_ view: TileView, _ row: Int, _ numbers: [Double]) {
    let window = window(view)
    for (column, number) in numbers.enumerated() { set(window, row, column, number) }
  }
}

extension Verifier {
  mutating func check(_ rows: MonomialRows) {
    check(rows.source)
    check(monomials: rows.target, of: rows.source)
  }

  mutating func check(_ adjoint: MonomialAdjoint) {
    check(adjoint.source)
    require(
      adjoint.target, is: (adjoint.source.rows, adjoint.source.columns), "the target")
    check(monomials: adjoint.given, of: adjoint.source)
    requirePlain(adjoint.target)
    requireWholeRows(adjoint.target)
  }

  private mutating func check(monomials: TileView, of features: TileView) {
    require(
      monomials, is: (features.rows, Monomials.count(of: features.columns)), "the monomials")
    for view in [monomials, features] {
      requirePlain(view)
      requireWholeRows(view)
    }
  }
}
