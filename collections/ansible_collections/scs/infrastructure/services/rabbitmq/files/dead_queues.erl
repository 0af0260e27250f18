%% SPDX-License-Identifier: Apache-2.0
%% Removes quorum queues that can never have a majority again, and prints them: `rabbitmqctl eval "$(cat dead_queues.erl)"`.
%%
%% A client deletes its queue, first the members, then the cluster's record of it. If the broker that does so stops in
%% between, the record and its bindings stay, and a new member that nobody votes for. Whoever publishes to the exchange
%% waits for that queue, for ever: one dead fanout queue stops every nova-compute. The broker's API calls it running.
%%
%% A queue is dead when at least half of its members are not there on brokers that serve. Looked at twice: a deletion and
%% the start of a virtual host take a moment.
Members = fun(Queue) ->
    case maps:get(nodes, amqqueue:get_type_state(Queue), []) of
        Nodes when is_map(Nodes) -> maps:keys(Nodes);
        Nodes -> Nodes
    end
end,
Look = fun() ->
    There = maps:from_list([
        {Node, maps:from_keys(erpc:call(Node, erlang, registered, [], 10000), true)}
        || Node <- rabbit_nodes:list_serving()
    ]),
    Lost = fun(Queue) ->
        {Name, _} = amqqueue:get_pid(Queue),
        [Node || Node <- Members(Queue), maps:is_key(Node, There), not maps:is_key(Name, maps:get(Node, There))]
    end,
    [
        amqqueue:get_name(Queue)
        || Queue <- rabbit_amqqueue:list(),
           amqqueue:get_type(Queue) =:= rabbit_quorum_queue,
           2 * length(Lost(Queue)) >= length(Members(Queue))
    ]
end,
case Look() of
    [] ->
        ok;
    First ->
        timer:sleep(10000),
        Second = Look(),
        [
            case rabbit_amqqueue:lookup(Name) of
                {ok, Queue} ->
                    Said = rabbit_amqqueue:delete(Queue, false, false, <<"scs">>),
                    io:format("removed dead ~ts: ~tp~n", [rabbit_misc:rs(Name), Said]);
                _ ->
                    ok
            end
            || Name <- First, lists:member(Name, Second)
        ],
        ok
end.
