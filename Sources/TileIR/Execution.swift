import Recurrences

extension Worker {
  /// One operation, by its scalar meaning.
  mutating func execute(_ operation: Operation) {
    switch operation {
    case .map(let map): execute(map)
    case .scan(let scan): execute(scan)
    case .mantissas(let product): execute(product)
    case .reduce(let reduce): execute(reduce)
    case .decayTotal(let total): execute(total)
    case .decayFactor(let factor): execute(factor)
    case .fold(let fold): execute(fold)
    case .transpose(let transpose):
      let (target, source) = (window(transpose.target), window(transpose.source))
      for row in 0..<transpose.source.rows {
        for column in 0..<transpose.source.columns {
          set(target, column, row, get(source, row, column))
        }
      }
    case .multiply(let product): execute(product)
    case .decayMatrix(let matrix): execute(matrix)
    case .weigh(let weigh):
      let (target, weights) = (window(weigh.target), window(weigh.weights))
      for row in 0..<weigh.target.rows {
        for column in 0..<weigh.target.columns {
          let weight = get(weights, row, column)
          set(target, row, column, weight == 0 ? 0 : weight * get(target, row, column))
        }
      }
    case .decayedScores(let scores): execute(scores)
    case .decayedValues(let values): execute(values)
    case .decayedPaths(let paths): execute(paths)
    case .sumSequences(let sum): execute(sum)
    case .monomials(let rows): execute(rows)
    case .monomialAdjoint(let adjoint): execute(adjoint)
    case .recur(let recur): execute(recur)
    case .moveState(let move): execute(move)
    case .loadState(let load):
      let target = window(load.target)
      let slice = origin(load.source)
      let source = machine.tensors[slice.tensor]
      for row in 0..<load.target.rows {
        for column in 0..<load.target.columns {
          let value = place(slice, row, column).flatMap { place in source.map { $0[place] } }
          set(target, row, column, value ?? 0)
        }
      }
    case .storeState(let store):
      guard machine.tensors[store.target.tensor] != nil else { return }
      write(store.source, to: store.target.tensor) { $0.place(store.target, $1, $2) }
    case .storeTokens(let store):
      write(store.source, to: store.target.tensor) { $0.place(store.target, $1, $2) }
    }
  }

  private mutating func write(
    _ view: TileView, to tensor: String, at place: (Worker, Int, Int) -> Int?
  ) {
    let source = window(view)
    let type = machine.program.tensor(tensor)!.type
    // Taken out for the while, so that no element copies the whole.
    var numbers = machine.tensors.removeValue(forKey: tensor)!
    for row in 0..<view.rows {
      for column in 0..<view.columns {
        guard let place = place(self, row, column) else { continue }
        let value = get(source, row, column)
        numbers[place] = machine.precision == .exact ? value : type.rounded(value)
      }
    }
    machine.tensors[tensor] = numbers
  }

  private mutating func execute(_ map: Map) {
    let (target, complement) = (window(map.target), map.complement.map(window))
    let taken = map.complement == nil ? nil : map.expression.complement
    let readers = map.operands.mapValues(reader)
    for row in 0..<map.target.rows {
      let fill = map.tail.flatMap { at($0.start) + row >= sequence.tokens.count ? $0.fill : nil }
      for column in 0..<map.target.columns {
        let value =
          fill ?? map.expression.evaluate { readers[$0]!(self, row, column) }
        set(target, row, column, value)
        if let complement, let taken {
          let value = fill.map { 1 - $0 } ?? taken.evaluate { readers[$0]!(self, row, column) }
          set(complement, row, column, value)
        }
      }
    }
  }

  /// How an operand is read at (row, column).
  private func reader(_ operand: Map.Operand) -> (Worker, Int, Int) -> Double {
    switch operand {
    case .tile(let view, let how):
      let window = window(view)
      switch how {
      case .none: return { $0.get(window, $1, $2) }
      case .overRows: return { worker, _, column in worker.get(window, 0, column) }
      case .overColumns: return { worker, row, _ in worker.get(window, row, 0) }
      case .rowAsColumn: return { worker, row, _ in worker.get(window, 0, row) }
      }
    case .tokens(let slice):
      let tensor = machine.program.tensor(slice.tensor)!
      let numbers = machine.tensors[slice.tensor]!
      // A scalar a token is repeated over the columns.
      return { worker, row, column in
        worker.place(slice, row, tensor.columns == 1 ? 0 : column).map { numbers[$0] } ?? 0
      }
    case .parameter(let name, let start):
      let tensor = machine.program.tensor(name)!
      let numbers = machine.tensors[name]!
      let (first, matrix) = (at(start), head * tensor.rows)
      return { _, row, column in
        let place = tensor.columns == 1 ? 0 : first + column
        guard place < tensor.columns else { return 0 }
        return numbers[(matrix + (tensor.rows == 1 ? 0 : row)) * tensor.columns + place]
      }
    case .scale:
      let scale = machine.scale
      return { _, _, _ in scale }
    }
  }

  private mutating func execute(_ scan: Scan) {
    let (target, source) = (window(scan.target), window(scan.source))
    let rows = scan.source.rows
    for column in 0..<scan.source.columns {
      var product = 1.0
      for step in 0..<rows {
        let row = scan.backward ? rows - 1 - step : step
        let next = product * get(source, row, column)
        set(target, row, column, scan.exclusive ? product : next)
        product = next
      }
    }
  }

  private mutating func execute(_ product: Mantissas) {
    let (mantissas, powers) = (window(product.mantissas), window(product.powers))
    let decays = window(product.decays)
    for column in 0..<product.decays.columns {
      var mantissa = 1.0
      set(mantissas, 0, column, mantissa)
      for row in 0..<product.decays.rows {
        let next = mantissa * get(decays, row, column)
        let power = next < 0x1p-126 ? 0 : next.binade
        mantissa = power == 0 ? 1 : next / power
        set(powers, row, column, power)
        set(mantissas, row + 1, column, mantissa)
      }
    }
  }

  private mutating func execute(_ reduce: Reduce) {
    let (target, source) = (window(reduce.target), window(reduce.source))
    let (rows, columns) = (reduce.source.rows, reduce.source.columns)
    let overRows = reduce.target.rows == 1 && reduce.target.columns == columns
    for outer in 0..<(overRows ? columns : rows) {
      var result = 0.0
      for inner in 0..<(overRows ? rows : columns) {
        result += overRows ? get(source, inner, outer) : get(source, outer, inner)
      }
      set(target, overRows ? 0 : outer, overRows ? outer : 0, result)
    }
  }

  private mutating func execute(_ product: Multiply) {
    let depth = at(product.depth)
    let (target, left, right) = (
      window(product.target), window(product.left), window(product.right)
    )
    for row in 0..<product.target.rows {
      for column in 0..<product.target.columns {
        var total = 0.0
        if product.accumulates {
          total = get(target, row, column)
          if let scale = product.rowScale {
            total *= factor(scale, scale.slope.columns == 1 ? (row, 0) : (0, row))
          }
          if let scale = product.columnScale { total *= factor(scale, (0, column)) }
        }
        for place in 0..<depth {
          let factor = product.leftIsTransposed ? get(left, place, row) : get(left, row, place)
          total += factor * get(right, place, column)
        }
        set(target, row, column, total)
      }
    }
  }

  private mutating func execute(_ matrix: DecayMatrix) {
    let target = window(matrix.target)
    let decay = matrix.decay.map(window)
    for row in 0..<matrix.target.rows {
      for column in 0..<matrix.target.columns { set(target, row, column, 0) }
      if !matrix.readsPrevious { set(target, row, row, 1) }
      // From the diagonal to the left the product grows by one factor a step.
      var product = 1.0
      for column in (0..<row).reversed() {
        let excluded = matrix.readsPrevious && column + 1 == row
        if let decay, !excluded { product *= get(decay, column + 1, 0) }
        set(target, row, column, product)
      }
    }
  }

  private mutating func execute(_ scores: DecayedScores) {
    let (target, query) = (window(scores.target), window(scores.query))
    let (key, decay) = (window(scores.key), window(scores.decay))
    for row in 0..<scores.target.rows {
      for column in 0..<scores.target.columns {
        var total = 0.0
        if column < row || (column == row && !scores.readsPrevious) {
          let end = scores.readsPrevious ? row : row + 1
          for k in 0..<scores.query.columns {
            var term = get(query, row, k) * get(key, column, k)
            for step in min(column + 1, end)..<end { term *= get(decay, step, k) }
            total += term
          }
        }
        set(target, row, column, total)
      }
    }
  }

  private mutating func execute(_ values: DecayedValues) {
    let (target, scores) = (window(values.target), window(values.scores))
    let (value, decay) = (window(values.value), window(values.decay))
    for row in 0..<values.target.rows {
      for column in 0..<values.target.columns {
        var total = get(target, row, column)
        for step in 0...row {
          if step < row || !values.readsPrevious { total *= get(decay, step, column) }
          total += get(scores, row, step) * get(value, step, column)
        }
        set(target, row, column, total)
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
    case .state, .sum, .monomials:
      preconditionFailure("the verifier admits elementwise maps of no state")
    }
  }
}
