import Recurrences

extension Worker {
  /// One operation, by its scalar meaning.
  mutating func execute(_ operation: Operation) {
    switch operation {
    case .map(let map): execute(map)
    case .scan(let scan): execute(scan)
    case .reduce(let reduce): execute(reduce)
    case .transpose(let transpose):
      for row in 0..<transpose.source.rows {
        for column in 0..<transpose.source.columns {
          set(transpose.target, column, row, get(transpose.source, row, column))
        }
      }
    case .multiply(let product): execute(product)
    case .decayMatrix(let matrix): execute(matrix)
    case .weigh(let weigh):
      for row in 0..<weigh.target.rows {
        for column in 0..<weigh.target.columns {
          let weight = get(weigh.weights, row, column)
          set(weigh.target, row, column, weight == 0 ? 0 : weight * get(weigh.target, row, column))
        }
      }
    case .decayedScores(let scores): execute(scores)
    case .decayedValues(let values): execute(values)
    case .loadState(let load):
      let source = machine.tensors[load.source.tensor]
      for row in 0..<load.target.rows {
        for column in 0..<load.target.columns {
          let value = place(load.source, row, column).flatMap { place in source.map { $0[place] } }
          set(load.target, row, column, value ?? 0)
        }
      }
    case .storeState(let store):
      guard machine.tensors[store.target.tensor] != nil else { return }
      for row in 0..<store.source.rows {
        for column in 0..<store.source.columns {
          if let place = place(store.target, row, column) {
            write(store.target.tensor, place, get(store.source, row, column))
          }
        }
      }
    case .storeTokens(let store):
      for row in 0..<store.source.rows {
        for column in 0..<store.source.columns {
          if let place = place(store.target, row, column) {
            write(store.target.tensor, place, get(store.source, row, column))
          }
        }
      }
    }
  }

  private mutating func write(_ tensor: String, _ place: Int, _ value: Double) {
    let type = machine.program.tensor(tensor)!.type
    machine.tensors[tensor]![place] = machine.precision == .exact ? value : type.rounded(value)
  }

  private mutating func execute(_ map: Map) {
    for row in 0..<map.target.rows {
      let fill = map.tail.flatMap { at($0.start) + row >= sequence.tokens.count ? $0.fill : nil }
      for column in 0..<map.target.columns {
        let value =
          fill ?? map.expression.evaluate { read(map.operands[$0], row: row, column: column) }
        set(map.target, row, column, value)
      }
    }
  }

  private func read(_ operand: Map.Operand?, row: Int, column: Int) -> Double {
    switch operand {
    case .tile(let view, .none): return get(view, row, column)
    case .tile(let view, .overRows): return get(view, 0, column)
    case .tile(let view, .overColumns): return get(view, row, 0)
    case .tile(let view, .rowAsColumn): return get(view, 0, row)
    case .tokens(let slice):
      let tensor = machine.program.tensor(slice.tensor)!
      // A scalar a token is repeated over the columns.
      return place(slice, row, tensor.columns == 1 ? 0 : column)
        .map { machine.tensors[slice.tensor]![$0] } ?? 0
    case .parameter(let name, let start):
      let tensor = machine.program.tensor(name)!
      let place = tensor.columns == 1 ? 0 : at(start) + column
      guard place < tensor.columns else { return 0 }
      let matrix = head * tensor.rows + (tensor.rows == 1 ? 0 : row)
      return machine.tensors[name]![matrix * tensor.columns + place]
    case .scale: return machine.scale
    case nil: preconditionFailure("the verifier admits no map that misses an operand")
    }
  }

  private mutating func execute(_ scan: Scan) {
    let rows = scan.source.rows
    for column in 0..<scan.source.columns {
      var product = 1.0
      for step in 0..<rows {
        let row = scan.backward ? rows - 1 - step : step
        let next = product * get(scan.source, row, column)
        set(scan.target, row, column, scan.exclusive ? product : next)
        product = next
      }
    }
  }

  private mutating func execute(_ reduce: Reduce) {
    let source = reduce.source
    let overRows = reduce.target.rows == 1 && reduce.target.columns == source.columns
    for outer in 0..<(overRows ? source.columns : source.rows) {
      var result = reduce.function == .sum ? 0.0 : 1.0
      for inner in 0..<(overRows ? source.rows : source.columns) {
        let value = overRows ? get(source, inner, outer) : get(source, outer, inner)
        result = reduce.function == .sum ? result + value : result * value
      }
      set(reduce.target, overRows ? 0 : outer, overRows ? outer : 0, result)
    }
  }

  private mutating func execute(_ product: Multiply) {
    let depth = at(product.depth)
    for row in 0..<product.target.rows {
      for column in 0..<product.target.columns {
        var total = 0.0
        if product.accumulates {
          total = get(product.target, row, column)
          if let scale = product.rowScale {
            total *= scale.columns == 1 ? get(scale, row, 0) : get(scale, 0, row)
          }
          if let scale = product.columnScale { total *= get(scale, 0, column) }
        }
        for place in 0..<depth {
          let left =
            product.leftIsTransposed
            ? get(product.left, place, row) : get(product.left, row, place)
          total += left * get(product.right, place, column)
        }
        set(product.target, row, column, total)
      }
    }
  }

  private mutating func execute(_ matrix: DecayMatrix) {
    for row in 0..<matrix.target.rows {
      for column in 0..<matrix.target.columns {
        set(matrix.target, row, column, 0)
      }
      if !matrix.readsPrevious { set(matrix.target, row, row, 1) }
      // From the diagonal to the left the product grows by one factor a step.
      var product = 1.0
      for column in (0..<row).reversed() {
        let excluded = matrix.readsPrevious && column + 1 == row
        if let decay = matrix.decay, !excluded { product *= get(decay, column + 1, 0) }
        set(matrix.target, row, column, product)
      }
    }
  }

  private mutating func execute(_ scores: DecayedScores) {
    for row in 0..<scores.target.rows {
      for column in 0..<scores.target.columns {
        var total = 0.0
        if column < row || (column == row && !scores.readsPrevious) {
          for k in 0..<scores.query.columns {
            var term = get(scores.query, row, k) * get(scores.key, column, k)
            let end = scores.readsPrevious ? row : row + 1
            for step in min(column + 1, end)..<end { term *= get(scores.decay, step, k) }
            total += term
          }
        }
        set(scores.target, row, column, total)
      }
    }
  }

  private mutating func execute(_ values: DecayedValues) {
    for row in 0..<values.target.rows {
      for column in 0..<values.target.columns {
        var total = get(values.target, row, column)
        for step in 0...row {
          if step < row || !values.readsPrevious { total *= get(values.decay, step, column) }
          total += get(values.scores, row, step) * get(values.value, step, column)
        }
        set(values.target, row, column, total)
      }
    }
  }
}

extension Expression {
  /// The value with each input read by name; for the elementwise expressions of maps.
  public func evaluate(_ read: (String) -> Double) -> Double {
    switch self {
    case .constant(let value): value
    case .input(let name, _): read(name)
    case .unary(let function, let operand): function.apply(operand.evaluate(read))
    case .binary(let function, let left, let right):
      function.apply(left.evaluate(read), right.evaluate(read))
    case .state, .sum:
      preconditionFailure("the verifier admits no state and no sum in a map")
    }
  }
}
